read -r line
protocol=$(printf '%s' "$line" | sed 's/.*"protocols":\[\([0-9]*\).*/\1/')
echo '{"type":"hello","protocol":'"$protocol"',"plugin":{"name":"agrees-to-any-protocol","version":"1.0.0"}}'
read -r run
echo '{"type":"result","id":1,"status":"ok"}'
