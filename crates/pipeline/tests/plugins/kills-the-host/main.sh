read -r line
echo '{"type":"hello","protocol":1,"plugin":{"name":"kills-the-host","version":"1.0.0"}}'
read -r run
case "$run" in *'"shutdown"'*) exit 0 ;; esac
kill -9 $PPID || exit 1
echo '{"type":"result","id":1,"status":"ok"}'
