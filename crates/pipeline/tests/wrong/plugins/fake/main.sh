# A source that says hello, and that suites come oldest first: more than its schema can say.
while IFS= read -r line; do
  case "$line" in
    *'"type":"hello"'*) echo '{"type":"hello","protocol":1,"plugin":{"name":"fake","version":"1.0.0"},"features":["validate"]}' ;;
    *'"type":"validate"'*'"sid","bookworm"'*)
      echo '{"type":"invalid","id":1,"problems":[{"path":"/suites/1","message":"bookworm is older than sid","help":"write the oldest first"}]}' ;;
    *'"type":"validate"'*) echo '{"type":"invalid","id":1,"problems":[]}' ;;
    *'"type":"shutdown"'*) exit 0 ;;
  esac
done
