"""Small networks used only to measure; nothing that ships is trained with them."""
