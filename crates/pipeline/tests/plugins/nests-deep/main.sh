read -r line
echo '{"type":"hello","protocol":1,"plugin":{"name":"nests-deep","version":"1.0.0"}}'
read -r run
case "$run" in *'"shutdown"'*) exit 0 ;; esac
head -c 100000 /dev/zero | tr '\0' '['
echo
echo '{"type":"result","id":1,"status":"ok"}'
