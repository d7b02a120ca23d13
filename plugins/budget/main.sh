# Every package of a release within a number of bytes. btfpipe writes each message on one line, without blanks.
result() { printf '{"type":"result","id":%s,"status":%s}\n' "$id" "$1"; }
refuse() { result '"error","class":"'"$1"'","message":"'"$2"'"'; }

while read -r line; do
    id=$(printf '%s' "$line" | sed -n 's/^{"type":"[a-z]*","id":\([0-9]*\).*/\1/p')
    case "$line" in
    '{"type":"hello"'*'"protocols":'*[[,]1[],]*)
        echo '{"type":"hello","protocol":1,"plugin":{"name":"budget","version":"0.1.0"}}' ;;
    '{"type":"hello"'*) echo 'budget speaks protocol 1 only' >&2; exit 1 ;;
    '{"type":"run"'*'"step":"verify"'*)
        most=$(printf '%s' "$line" | sed -n 's/.*"config":{"bytes":\([0-9]*\)}.*/\1/p') over=
        if [ -z "$most" ]; then refuse user 'bytes must say how many a package may have'; continue; fi
        files=$(printf '%s' "$line" | sed 's/{"name":/\n/g' | sed -n 's/^"\([^"]*\.tar\.zst\)".*"size":\([0-9]*\)}.*/\2 \1/p')
        while read -r size name; do
            if [ "${size:-0}" -gt "$most" ]; then over="$over $name has $size bytes;"; fi
        done <<END
$files
END
        if [ -n "$over" ]; then refuse tool "${over# } $most are the budget"; else result '"ok"'; fi ;;
    '{"type":"run"'*) refuse user 'this plugin does verify' ;;
    '{"type":"shutdown"'*) exit 0 ;;
    esac
done
