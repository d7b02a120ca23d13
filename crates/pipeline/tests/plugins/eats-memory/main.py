import json, sys
sys.stdin.readline()
print(json.dumps({"type": "hello", "protocol": 1, "plugin": {"name": "eats-memory", "version": "1.0.0"}}), flush=True)
config = json.loads(sys.stdin.readline())["config"]
hoard = bytearray(1 << 30)
