read -r line
echo '{"type":"hello","protocol":1,"plugin":{"name":"dances","version":"1.0.0"}}'
read -r run
case "$run" in *'"shutdown"'*) exit 0 ;; esac
echo '{"type":"dance","id":1}'
echo '{"type":"result","id":1,"status":"ok"}'
