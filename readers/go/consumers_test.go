package btfpack

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A machine as a consumer sees it, and the content of the BTF that it must get.
type machine struct{ id, versionID, uname, release, want string }

// The machines of the test in crates/bundle, on x86_64: the layouts are made of the kernels that run there.
var machines = []machine{
	{"rhel", "8.1", "x86_64", "4.18.0-80.el8", "rhel"},
	{"ubuntu", "18.04", "x86_64", "5.4.0-42-generic", "bionic"},
	{"ubuntu", "20.04", "x86_64", "5.4.0-42-generic", "focal"},
}

func check(t *testing.T, consumer string, m machine, got []byte, err error) {
	t.Helper()
	if err != nil || !strings.HasSuffix(string(got), m.want) {
		t.Errorf("%s on %s %s: %q, %v", consumer, m.id, m.versionID, got, err)
	}
}

// member reads an archive until a name is equal, as a loader that walks a tar does.
func member(archive io.Reader, name string) ([]byte, error) {
	for reader := tar.NewReader(archive); ; {
		header, err := reader.Next()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if header.Name == name {
			return io.ReadAll(reader)
		}
	}
}

func gunzip(t *testing.T, path string) []byte {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(unzipped)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func unxz(t *testing.T, packed []byte) []byte {
	t.Helper()
	xz := exec.Command("xz", "-dc")
	xz.Stdin = bytes.NewReader(packed)
	content, err := xz.Output()
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// Folders: Tracee asks for ID/VERSION_ID/x86_64|arm64, Inspektor Gadget for uname -m behind its own word.
func TestFolders(t *testing.T) {
	root := folder(t, "layouts")
	for _, m := range machines {
		for consumer, path := range map[string]string{
			"tracee":                "dist/btfhub/%s/%s/x86_64/%s.btf",
			"btfhub-custom-archive": "custom-archive/%s/%s/x86_64/%s.btf",
			"ig-embed":              "pkg/btfgen/btfs/x86/%s/%s/x86_64/%s.btf",
		} {
			got, err := os.ReadFile(filepath.Join(root, consumer, fmt.Sprintf(path, m.id, m.versionID, m.release)))
			check(t, consumer, m, got, err)
		}
	}
}

// The layer of Inspektor Gadget: a member's whole name is compared.
func TestInspektorGadgetLayer(t *testing.T) {
	archive := gunzip(t, filepath.Join(folder(t, "layouts"), "ig-layer.tar.gz"))
	for _, m := range machines {
		name := fmt.Sprintf("%s/%s/%s/%s.btf", m.id, m.versionID, m.uname, m.release)
		got, err := member(bytes.NewReader(archive), name)
		check(t, "ig-layer", m, got, err)
	}
}

// Datadog: an xz in an xz, the release's folder only for Ubuntu.
func TestDatadog(t *testing.T) {
	packed, err := os.ReadFile(filepath.Join(folder(t, "layouts"), "datadog.tar.xz"))
	if err != nil {
		t.Fatal(err)
	}
	archive := unxz(t, packed)
	for _, m := range machines {
		name := m.id + "/" + m.release + ".btf.tar.xz"
		if m.id == "ubuntu" {
			name = m.id + "/" + m.versionID + "/" + m.release + ".btf.tar.xz"
		}
		inner, err := member(bytes.NewReader(archive), name)
		if err != nil {
			t.Error(err)
			continue
		}
		got, err := member(bytes.NewReader(unxz(t, inner)), m.release+".btf")
		check(t, "datadog", m, got, err)
	}
}

// bcc and eunomia walk the headers themselves: 100 bytes of name, the size in octal, nothing else.
func TestRawHeaders(t *testing.T) {
	for consumer, format := range map[string]string{
		"bcc":     "./%s/%s/%s/%s.btf",
		"eunomia": "./btfhub-archive/%s/%s/%s/%s.btf",
	} {
		archive := gunzip(t, filepath.Join(folder(t, "layouts"), consumer+".tar.gz"))
		for _, m := range machines {
			name := fmt.Sprintf(format, m.id, m.versionID, m.uname, m.release)
			got, err := rawMember(archive, name)
			check(t, consumer, m, got, err)
		}
	}
}

func rawMember(archive []byte, name string) ([]byte, error) {
	for len(archive) >= 512 && archive[0] != 0 {
		var size int
		if _, err := fmt.Sscanf(string(archive[124:135]), "%o", &size); err != nil {
			return nil, err
		}
		found := string(bytes.TrimRight(archive[:100], "\x00"))
		if found == name {
			return archive[512 : 512+size], nil
		}
		archive = archive[512+(size+511)/512*512:]
	}
	return nil, fmt.Errorf("no %s", name)
}
