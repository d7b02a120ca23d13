read -r line
echo '{"type":"hello","protocol":1,"plugin":{"name":"works-only-once","version":"0.1.0"},"features":["worker"]}'
read -r run
case "$run" in *'"shutdown"'*) exit 0 ;; esac
echo '{"type":"result","id":1,"status":"error","class":"user","message":"no"}'
