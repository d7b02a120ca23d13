#!/bin/sh
# Stands in QEMU's place: does what the file "script" next to the console log says.
# The script has words for what a machine does: log a line on the console, and the guest's messages. The checksum of a
# message comes from gzip, which ends its output with the CRC-32 of its input.
for word; do
  case $word in
    file,id=console,path=*) console=${word#*path=} ;;
    memory-backend-file,*mem-path=*) memory=${word#*mem-path=} ;;
    *BTFPIPE_NONCE=*) nonce=${word#*BTFPIPE_NONCE=}; nonce=${nonce%% *} ;;
  esac
done
folder=$(dirname "$console")
echo "$$" >> "$folder/pids"
boot=$(wc -l < "$folder/pids")
log() { echo "[    0.1] $*" >> "$console"; }
frame() {
  crc=$({ printf "\\$(printf %03o "$1")\\0\\0\\0"; printf %s "$2"; } | gzip -c | tail -c 8 | od -An -tx4 -N4 | tr -d ' ')
  printf '\n@@btfpipe1 %s %s %s\n' "$1" "$crc" "$2"
}
hello() { frame 0 '{"type":"hello","nonce":"'"${1-$nonce}"'","kernel":"6.1","agent":"0","libbpf":"v1.7","btf":null,"checks":1}'; }
begin() { frame 1 '{"type":"begin","check":0}'; }
program() { frame 2 '{"type":"program","program":"p","section":"kprobe/x","needs_kernel_btf":false,"full":'"$1"',"visible":"ok","hidden":"ok","compare":"same"}'; }
pass='{"end":"ok","millis":5}'
end() { frame 3 '{"type":"end","check":0,"full":'"$pass"',"visible":'"$pass"',"hidden":'"$pass"'}'; }
done_() { frame 4 '{"type":"done","count":1}'; }
waiting() { frame 0 '{"type":"waiting","nonce":"'"$nonce"'"}'; }
# Waits for the checks, and takes the number that comes with them.
fed() {
  read -r _ <&1
  nonce=$(head -c 4096 "$memory" | LC_ALL=C grep -a -o '"nonce":"[^"]*' | head -n 1 | cut -d '"' -f 4)
}
# The control socket: agrees to everything, and is done with every migration at once.
control() {
  echo '{"QMP":{}}'
  while read -r command; do
    echo '{"return":{}}'
    case $command in *'"migrate"'* | *migrate-incoming*) echo '{"event":"MIGRATION","data":{"status":"completed"}}' ;; esac
  done
}
all() { hello; begin; program '"ok"'; end; done_; }
if [ -n "$memory" ]; then exec 3<&0; control <&3 >&3 & fi
. "$folder/script"
