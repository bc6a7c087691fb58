"""`python -m engine.serve`: the engine process without the command line around it."""

from engine.serve.loop import serve

if __name__ == "__main__":
    serve()
