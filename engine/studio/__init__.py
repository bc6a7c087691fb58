"""Makes what the nets learn from: synthesised speech with phone times, performances, captures."""
