read -r line
echo '{"type":"hello","protocol":1,"plugin":{"name":"leaves-a-daemon","version":"1.0.0"}}'
read -r run
case "$run" in *'"shutdown"'*) exit 0 ;; esac
setsid sleep 300 > /dev/null 2>&1 &
nohup sleep 300 > /dev/null 2>&1 &
echo $! > tmp/pid
echo '{"type":"result","id":1,"status":"ok"}'
