read -r line
echo '{"type":"hello","protocol":1,"plugin":{"name":"fills-a-file","version":"1.0.0"}}'
read -r run
case "$run" in *'"shutdown"'*) exit 0 ;; esac
exec head -c 1G /dev/zero > tmp/x
