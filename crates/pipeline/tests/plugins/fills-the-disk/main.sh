read -r line
echo '{"type":"hello","protocol":1,"plugin":{"name":"fills-the-disk","version":"1.0.0"}}'
read -r run
case "$run" in *'"shutdown"'*) exit 0 ;; esac
i=0
while head -c 1M /dev/zero > tmp/$i; do
    i=$((i + 1))
done
