package btfpack

import (
	"bufio"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// folder has what the test of crates/bundle made for us.
func folder(t *testing.T, name string) string {
	root := os.Getenv("BTFPACK_TESTS")
	if root == "" {
		t.Skip("cargo test -p bundle --test go_reader makes the packs")
	}
	return filepath.Join(root, name)
}

// TestCases asks what readers/lookup.cases asks: NAME.btfpack and NAME.queries.
func TestCases(t *testing.T) {
	packs, _ := filepath.Glob(filepath.Join(folder(t, "cases"), "*.btfpack"))
	count := 0
	for _, path := range packs {
		bytes, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		pack, err := OpenBytes(bytes)
		if err != nil {
			t.Fatal(err)
		}
		queries, err := os.Open(strings.TrimSuffix(path, ".btfpack") + ".queries")
		if err != nil {
			t.Fatal(err)
		}
		defer queries.Close()
		for lines := bufio.NewScanner(queries); lines.Scan(); count++ {
			asked, want, _ := strings.Cut(lines.Text(), " -> ")
			words := strings.Fields(strings.ReplaceAll(" "+asked+" ", " - ", " \"\" "))
			for i := range words {
				words[i] = strings.TrimPrefix(strings.Trim(words[i], "\"-"), "#")
			}
			query := Query{Distro: words[0], Version: words[1], Release: words[2], Machine: "amd64"}
			if len(words) > 3 {
				query.BuildID = words[3]
			}
			if got := said(pack.Find(query)); got != want {
				t.Errorf("%s: %s: %s instead of %s", path, asked, got, want)
			}
		}
	}
	if len(packs) < 8 || count < 41 {
		t.Errorf("%d packs, %d queries", len(packs), count)
	}
}

func said(hit *Hit, err error) string {
	if err != nil {
		return err.Error()
	}
	if hit.Verified {
		return hit.Rule + " " + hit.ID() + " verified"
	}
	return hit.Rule + " " + hit.ID()
}

// TestDelta: a delta pack has no kernels to look up: it is refused, and not taken for a broken pack.
func TestDelta(t *testing.T) {
	delta, err := os.ReadFile(filepath.Join(folder(t, "layouts"), "next.btfdelta"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenBytes(delta); !errors.Is(err, ErrNotAPack) {
		t.Errorf("a delta pack: %v", err)
	}
}

// TestBroken flips every bit of a pack's bytes in turn: an error or a good BTF, never a panic.
func TestBroken(t *testing.T) {
	good, err := os.ReadFile(filepath.Join(folder(t, "layouts"), "kernels.btfpack"))
	if err != nil {
		t.Fatal(err)
	}
	for at := range good {
		bad := append([]byte(nil), good...)
		bad[at] ^= 1 << (at % 8)
		pack, err := OpenBytes(bad)
		if err != nil {
			continue
		}
		for i := uint32(0); i < pack.Kernels() && i < 8; i++ {
			if kernel, err := pack.Kernel(i); err == nil {
				pack.BTF(kernel)
				pack.Find(Query{Machine: "amd64", Release: kernel.Release})
				pack.Verdict(kernel, "opensnoop.bpf.o")
			}
		}
	}
	for size := range good {
		if _, err := OpenBytes(good[:size]); err == nil {
			t.Errorf("cut at %d", size)
		}
	}
}
