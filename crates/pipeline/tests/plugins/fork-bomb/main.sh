read -r line
echo '{"type":"hello","protocol":1,"plugin":{"name":"fork-bomb","version":"1.0.0"}}'
read -r run
# Doubles, and ends at 1,000 for the sake of a machine that nobody stops it on.
bomb() {
    if [ "$1" -lt 9 ]; then
        bomb $(($1 + 1)) &
        bomb $(($1 + 1)) &
    fi
    sleep 60
}
bomb 0
