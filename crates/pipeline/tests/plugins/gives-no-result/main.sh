read -r line
echo '{"type":"hello","protocol":1,"plugin":{"name":"gives-no-result","version":"1.0.0"}}'
read -r run
exit 0
