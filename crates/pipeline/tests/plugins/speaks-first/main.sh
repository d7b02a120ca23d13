echo '{"type":"result","id":1,"status":"ok"}'
read -r line
