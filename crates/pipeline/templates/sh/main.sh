# A kernel whose BTF lies in a file: change what you like. btfpipe writes each message on one line, without blanks, its
# type first and then its id. A text with \ or " in it needs a real JSON parser, such as jq.
text() { # NAME: the first text of that name in the message
    printf '%s' "$line" | sed -n 's/"'"$1"'":"\([^"\\]*\)".*/\n\1/; t found; d; :found; s/.*\n//p'
}
result() { printf '{"type":"result","id":%s,"status":%s}\n' "$id" "$1"; }
fail() { result '"error","class":"user","message":"'"$1"'"'; }

while read -r line; do
    id=$(printf '%s' "$line" | sed -n 's/^{"type":"[a-z]*","id":\([0-9]*\).*/\1/p')
    case "$line" in
    '{"type":"hello"'*'"protocols":'*[[,]1[],]*)
        echo '{"type":"hello","protocol":1,"plugin":{"name":"NAME","version":"0.1.0"}}' ;;
    '{"type":"hello"'*) echo 'NAME speaks protocol 1 only' >&2; exit 1 ;;
    '{"type":"run"'*'"step":"resolve"'*)
        kernel=$(text id) path=$(text path)
        if [ -z "$kernel" ] || [ ! -f "$path" ]; then fail 'id and path must name a kernel and its BTF'; continue; fi
        sum=$(sha256sum < "$path") size=$(($(wc -c < "$path")))
        package='{"name":"btf","version":"","arch":"","file":"kernel.btf","sha256":"'${sum%% *}'","size":'$size'}'
        result '"ok","kernels":[{"id":"'"$kernel"'","packages":['"$package"'],"with":{"path":"'"$path"'"}}]' ;;
    '{"type":"run"'*'"step":"fetch"'*)
        cp "$(text path)" out/kernel.btf || { fail 'the BTF is gone'; continue; }
        result '"ok","outputs":[{"name":"btf","path":"out/kernel.btf"}]' ;;
    '{"type":"run"'*) fail 'a source does resolve and fetch' ;;
    '{"type":"shutdown"'*) exit 0 ;;
    esac
done
