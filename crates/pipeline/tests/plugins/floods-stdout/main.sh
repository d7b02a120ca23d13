read -r line
echo '{"type":"hello","protocol":1,"plugin":{"name":"floods-stdout","version":"1.0.0"}}'
read -r run
case "$run" in *'"shutdown"'*) exit 0 ;; esac
while :; do
    echo '{"type":"progress","id":1,"done":1}'
done
