read -r line
echo '{"type":"hello","protocol":1,"plugin":{"name":"paints-the-terminal","version":"1.0.0"}}'
read -r run
case "$run" in *'"shutdown"'*) exit 0 ;; esac
echo '{"type":"result","id":1,"status":"error","class":"user","message":"all \u001b[2J\u001b[32mgreen"}'
