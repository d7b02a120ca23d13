read -r line
echo '{"type":"hello","protocol":1,"plugin":{"name":"ignores-a-closed-stdin","version":"1.0.0"}}'
read -r run || sleep 60
case "$run" in *'"shutdown"'*) exit 0 ;; esac
echo '{"type":"result","id":1,"status":"ok"}'
