echo 'no module named json' >&2
exit 3
