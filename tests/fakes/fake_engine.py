"""A fake engine that speaks the full protocol, with the faults that a client must survive.

    python fake_engine.py MODE

Modes: "good"; "slow" (a job of 3 s); "deaf" (ignores cancels); "dies" (in the middle of a job or picture);
"garbage" (a line that is no message in the middle of a job); "split" (every line in small pieces);
"version" (another protocol version); "silent" (never says hello); "hang" (stops drawing, not reading);
"late" (a job sends its result although a cancel came, as when the two cross).
Jobs: "count" {"steps", "step_s"} with progress; "fail"; "echo" returns its request.
Pictures: the colour is 255 times the first head's first vertex; the depth plane is 2.
"""

import json
import mmap
import os
import queue
import sys
import tempfile
import threading
import time

import numpy as np

MODE = sys.argv[1] if len(sys.argv) > 1 else "good"
OUT = sys.stdout.buffer
LOCK = threading.Lock()


def send(kind, **fields):
    line = json.dumps({"v": 1, "kind": kind, **fields}).encode() + b"\n"
    with LOCK:
        pieces = [line[i : i + 7] for i in range(0, len(line), 7)] if MODE == "split" else [line]
        for piece in pieces:
            OUT.write(piece)
            OUT.flush()
            if MODE == "split":
                time.sleep(0.001)


def run(message, cancelled):
    name, request = message["id"], message["request"]
    if message["job"] == "fail":
        return send("error", id=name, message="this job always fails")
    if message["job"] == "echo":
        return send("result", id=name, result=request)
    steps = int(request.get("steps", 5))
    for i in range(steps):
        if cancelled.is_set() and MODE not in ("deaf", "late"):
            return send("cancelled", id=name)
        send("progress", id=name, stage="counting", done=i, total=steps)
        if i == steps // 2:
            send("warning", id=name, message="half way")
            if MODE == "dies":
                os._exit(7)
            if MODE == "garbage":
                OUT.write(b"Loading weights... 100%\n")
                OUT.flush()
        time.sleep(1.0 if MODE == "slow" else float(request.get("step_s", 0.01)))
    send("result", id=name, result={"steps": steps})


def paint(view, message):
    if MODE == "hang":
        return
    if MODE == "dies" and message["seq"] == 2:
        os._exit(7)
    began = time.perf_counter()
    width, height = message["size"]
    offset = view["memory"]["slots"][message["slot"]][0]
    first = np.frombuffer(view["block"], np.float32, 3, view["heads"][0]["offset"])
    colour = np.append(np.clip(first * 255, 0, 255), 255)
    planes, wide = {}, 1 if message["format"] == "srgb8" else 4
    for plane in message["planes"]:
        planes[plane] = offset
        count = width * height * {"rgba": 4, "depth": 1, "normal": 3}[plane]
        kind = np.uint8 if plane == "rgba" and wide == 1 else np.float32
        out = np.frombuffer(view["block"], kind, count, offset)
        out[:] = np.tile(colour if wide == 1 else colour / 255, width * height) if plane == "rgba" else 2
        offset += -(-out.nbytes // 64) * 64
    time.sleep(0.05 if MODE == "slow" else 0.0)
    ms = 1000 * (time.perf_counter() - began)
    send("done", id=message["id"], seq=message["seq"], slot=message["slot"], ms=ms, planes=planes)


def main():
    jobs, flags, views = queue.Queue(), {}, {}

    def work():
        while True:
            message, flag = jobs.get()
            run(message, flag)

    threading.Thread(target=work, daemon=True).start()
    folder = tempfile.mkdtemp(prefix="soliloquy-")
    for line in sys.stdin.buffer:
        message = json.loads(line)
        kind, name = message["kind"], message.get("id")
        if kind == "hello" and MODE != "silent":
            protocol = 99 if MODE == "version" else 1
            send("hello", protocol=protocol, version="0.1.0", pid=os.getpid(), session=folder, jobs=["count", "echo"])
        elif kind == "start":
            flags[name] = threading.Event()
            jobs.put((message, flags[name]))
        elif kind == "cancel" and name in flags:
            flags[name].set()
        elif kind == "open":
            if message["heads"][0]["count"] == 13:
                send("error", id=name, message="the mesh has 13 vertices, head 'default' has 12")
                continue
            with open(message["memory"]["path"], "r+b") as f:
                views[name] = {**message, "block": mmap.mmap(f.fileno(), 0)}
            send("opened", id=name, gaussians=1, **({} if MODE == "older" else {"values": True}))
            if message["heads"][0].get("appearance"):
                send("warning", id=name, message="this net is a fake")
        elif kind == "update" and name in views:
            paint(views[name], message)
        elif kind == "close" and name in views:
            views.pop(name)
            send("result", id=name, result={})
        elif kind == "shutdown":
            break
    os.rmdir(folder)


if __name__ == "__main__":
    main()
