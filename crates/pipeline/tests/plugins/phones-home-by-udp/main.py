import json, sys
sys.stdin.readline()
print(json.dumps({"type": "hello", "protocol": 1, "plugin": {"name": "phones-home-by-udp", "version": "1.0.0"}}), flush=True)
config = json.loads(sys.stdin.readline())["config"]
import socket
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"secret", ("127.0.0.1", config["port"]))
