read -r line
echo '{"type":"hello","protocol":1,"plugin":{"name":"promises-to-stay","version":"0.1.0"}}'
read -r run
case "$run" in *'"shutdown"'*) exit 0 ;; esac
echo '{"type":"result","id":1,"status":"error","class":"user","message":"no"}'
