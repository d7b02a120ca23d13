echo '{"type":"hello","protocol":2,"plugin":{"name":"speaks-protocol-2","version":"1.0.0"}}'
read -r line
