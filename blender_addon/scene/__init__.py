"""The only writers of bpy.data: heads, control Empties, voices, takes, prompts.

In: plain arrays and values from `convert`. Out: data-blocks that play unchanged when the add-on is removed.
Problems that a person can mend are raised as `SceneProblem`, one sentence that says what to do.
"""


class SceneProblem(Exception):
    """The scene does not allow the step; the message says what to do."""
