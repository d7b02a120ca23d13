read -r line
echo '{"type":"hello","protocol":1,"plugin":{"name":"never-ends","version":"1.0.0"}}'
read -r run
case "$run" in *'"shutdown"'*) exit 0 ;; esac
while :; do
    sleep 1
done
