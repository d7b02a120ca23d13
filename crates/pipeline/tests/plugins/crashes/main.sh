read -r line
echo '{"type":"hello","protocol":1,"plugin":{"name":"crashes","version":"1.0.0"}}'
read -r run
case "$run" in *'"shutdown"'*) exit 0 ;; esac
kill -SEGV $$
