read -r line
echo '{"type":"hello","protocol":1,"plugin":{"name":"reads-outside","version":"1.0.0"}}'
read -r run
case "$run" in *'"shutdown"'*) exit 0 ;; esac
outside=$(printf '%s' "$run" | sed 's/.*"outside":"\([^"]*\)".*/\1/')
cat "$outside/secret" > out/stolen || exit 1
echo '{"type":"result","id":1,"status":"ok","outputs":[{"name":"x","path":"out/stolen"}]}'
