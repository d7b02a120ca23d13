read -r line
echo '{"type":"hello","protocol":1,"plugin":{"name":"writes-an-endless-line","version":"1.0.0"}}'
read -r run
case "$run" in *'"shutdown"'*) exit 0 ;; esac
tr '\0' x < /dev/zero
