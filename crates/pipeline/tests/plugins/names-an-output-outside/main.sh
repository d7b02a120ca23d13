read -r line
echo '{"type":"hello","protocol":1,"plugin":{"name":"names-an-output-outside","version":"1.0.0"}}'
read -r run
case "$run" in *'"shutdown"'*) exit 0 ;; esac
echo '{"type":"result","id":1,"status":"ok","outputs":[{"name":"x","path":"/etc/passwd"}]}'
