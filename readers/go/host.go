package btfpack

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"unsafe"
)

// Host is the running kernel, looked for below root ("/" for the machine itself).
func Host(root string) (Query, error) {
	read := func(path string) ([]byte, error) { return os.ReadFile(filepath.Join(root, path)) }
	release, err := read("/proc/sys/kernel/osrelease")
	if err != nil {
		return Query{}, err
	}
	q := Query{Machine: runtime.GOARCH, Release: strings.TrimSpace(string(release))}
	for _, path := range []string{"/host/etc/os-release", "/etc/os-release", "/usr/lib/os-release"} {
		if text, err := read(path); err == nil {
			q.Distro, q.Version = osRelease(string(text))
			break
		}
	}
	if notes, err := read("/sys/kernel/notes"); err == nil {
		q.BuildID = buildID(notes)
	}
	return q, nil
}

func osRelease(text string) (distro, version string) {
	for _, line := range strings.Split(text, "\n") {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch key {
		case "ID":
			distro = unquote(value)
		case "VERSION_ID":
			version = unquote(value)
		}
	}
	return distro, version
}

// unquote has the value as a shell would see it.
func unquote(value string) string {
	value = strings.TrimSpace(value)
	if len(value) > 1 && (value[0] == '"' || value[0] == '\'') && value[len(value)-1] == value[0] {
		quote := value[0]
		value = value[1 : len(value)-1]
		if quote == '\'' {
			return value
		}
	}
	var plain strings.Builder
	for i := 0; i < len(value); i++ {
		if value[i] == '\\' {
			if i++; i == len(value) {
				break
			}
		}
		plain.WriteByte(value[i])
	}
	return plain.String()
}

// buildID has the GNU build-id among ELF notes, which are in the byte order of the machine.
func buildID(notes []byte) string {
	var order binary.ByteOrder = binary.LittleEndian
	if one := uint16(1); *(*byte)(unsafe.Pointer(&one)) == 0 {
		order = binary.BigEndian
	}
	padded := func(size uint64) uint64 { return (size + 3) / 4 * 4 }
	for len(notes) >= 12 {
		name, desc, kind := uint64(order.Uint32(notes)), uint64(order.Uint32(notes[4:])), order.Uint32(notes[8:])
		notes = notes[12:]
		if padded(name) > uint64(len(notes)) || desc > uint64(len(notes))-padded(name) {
			break
		}
		content := notes[padded(name):][:desc]
		if kind == 3 && desc > 0 && bytes.Equal(notes[:name], []byte("GNU\x00")) {
			return hex.EncodeToString(content)
		}
		next := padded(name) + padded(desc)
		if next > uint64(len(notes)) {
			break
		}
		notes = notes[next:]
	}
	return ""
}
