// Package btfpack reads packs of minimized BTF: which BTF is the one for the kernel that runs.
//
// It needs Go's standard library and nothing else, so it reads packs of the layout pack-deflate: there is no zstd in
// it. docs/bundle-format.md specifies the pack and the rules of the lookup; readers/lookup.cases has the rules as cases.
package btfpack

import (
	"bytes"
	"compress/flate"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sort"
)

const (
	headerSize  = 96
	kernelSize  = 32
	aliasSize   = 4
	blobSize    = 48
	chunkSize   = 24
	programSize = 36
	none        = 1<<32 - 1
	maxChunk    = 256 << 20
	maxAliases  = 4096
)

// ErrNotAPack is the error for bytes that begin otherwise than a pack.
var ErrNotAPack = errors.New("not a pack")

// ErrZstd is the error for a pack that was made for other readers.
var ErrZstd = errors.New("the pack is compressed with zstd: make one of the layout pack-deflate")

func damaged(what string) error { return fmt.Errorf("%s; the pack is damaged", what) }

// Pack is a pack whose header was read. It may be used by several goroutines.
type Pack struct {
	from                                                                       io.ReaderAt
	size                                                                       uint64
	arch                                                                       string
	kernels, aliases, blobs, chunks, programs, outcomes, strings               uint32
	aliasTable, blobTable, chunkTable, programTable, outcomeTable, stringTable uint64
	data                                                                       uint64
}

// Kernel is a kernel of a pack.
type Kernel struct {
	Distro, Version, Arch, Release string
	// BuildID is empty where it is not known.
	BuildID string
	// Aliases are other words for the version.
	Aliases        []string
	blob, outcomes uint32
}

// ID is distro/version/arch/release.
func (k *Kernel) ID() string { return k.Distro + "/" + k.Version + "/" + k.Arch + "/" + k.Release }

// Verdict is what became of the relocations of one program on one kernel.
type Verdict byte

// All relocations were decided; some instruction is poisoned; libbpf refuses the object.
const (
	Resolved Verdict = iota
	Poisoned
	Refused
)

// Open reads the header of a pack of size bytes.
func Open(from io.ReaderAt, size int64) (*Pack, error) {
	var header [headerSize]byte
	if size < headerSize {
		return nil, ErrNotAPack
	}
	if _, err := from.ReadAt(header[:], 0); err != nil {
		return nil, err
	}
	if string(header[:8]) != "BTFPACK1" {
		return nil, ErrNotAPack
	}
	word := func(at int) uint32 { return binary.LittleEndian.Uint32(header[at:]) }
	p := &Pack{
		from: from, size: uint64(size),
		kernels: word(12), aliases: word(16), blobs: word(20), chunks: word(24),
		programs: word(28), outcomes: word(32), strings: word(36),
	}
	switch word(8) {
	case 1:
		p.arch = "x86_64"
	case 2:
		p.arch = "arm64"
	default:
		return nil, damaged("an unknown architecture")
	}
	if binary.LittleEndian.Uint64(header[40:]) != p.size || binary.LittleEndian.Uint64(header[56:]) != 0 {
		return nil, damaged("a wrong size")
	}
	p.aliasTable = headerSize + uint64(p.kernels)*kernelSize
	p.blobTable = p.aliasTable + uint64(p.aliases)*aliasSize
	p.chunkTable = p.blobTable + uint64(p.blobs)*blobSize
	p.programTable = p.chunkTable + uint64(p.chunks)*chunkSize
	p.outcomeTable = p.programTable + uint64(p.programs)*programSize
	rows := uint64(p.outcomes) * uint64(p.programs)
	if p.outcomeTable > p.size || rows > p.size-p.outcomeTable {
		return nil, damaged("tables that end behind the file")
	}
	p.stringTable = p.outcomeTable + rows
	p.data = p.stringTable + uint64(p.strings)
	if p.data > p.size {
		return nil, damaged("tables that end behind the file")
	}
	return p, nil
}

// OpenBytes opens a pack in memory, such as one that go:embed brought.
func OpenBytes(pack []byte) (*Pack, error) { return Open(bytes.NewReader(pack), int64(len(pack))) }

func (p *Pack) entry(table uint64, index, count uint32, size int) ([]byte, error) {
	if index >= count {
		return nil, damaged("a number behind the end of its table")
	}
	entry := make([]byte, size)
	_, err := p.from.ReadAt(entry, int64(table+uint64(index)*uint64(size)))
	return entry, err
}

func (p *Pack) text(offset uint32) (string, error) {
	if offset >= p.strings {
		return "", damaged("a string behind the strings")
	}
	left := int(p.strings - offset - 1)
	if left > 255 {
		left = 255
	}
	text := make([]byte, left+1)
	if _, err := p.from.ReadAt(text, int64(p.stringTable)+int64(offset)); err != nil {
		return "", err
	}
	if int(text[0]) > left {
		return "", damaged("a string that ends behind the strings")
	}
	return string(text[1 : 1+int(text[0])]), nil
}

// Kernel is the kernel at an index below Kernels.
func (p *Pack) Kernel(index uint32) (*Kernel, error) {
	entry, err := p.entry(headerSize, index, p.kernels, kernelSize)
	if err != nil {
		return nil, err
	}
	word := func(at int) uint32 { return binary.LittleEndian.Uint32(entry[at:]) }
	k := &Kernel{Arch: p.arch, blob: word(24), outcomes: word(28)}
	for at, text := range map[int]*string{0: &k.Release, 4: &k.Distro, 8: &k.Version} {
		if *text, err = p.text(word(at)); err != nil {
			return nil, err
		}
	}
	if word(12) != none {
		if k.BuildID, err = p.text(word(12)); err != nil {
			return nil, err
		}
	}
	if word(20) > maxAliases {
		return nil, damaged("too many aliases")
	}
	for i := uint32(0); i < word(20); i++ {
		// Beyond the table's end by wrapping around: entry refuses it.
		entry, err := p.entry(p.aliasTable, word(16)+i, p.aliases, aliasSize)
		if err != nil {
			return nil, err
		}
		alias, err := p.text(binary.LittleEndian.Uint32(entry))
		if err != nil {
			return nil, err
		}
		k.Aliases = append(k.Aliases, alias)
	}
	return k, nil
}

// Kernels is the number of kernels.
func (p *Pack) Kernels() uint32 { return p.kernels }

// sameRelease has all kernels of a release.
func (p *Pack) sameRelease(release string) ([]*Kernel, error) {
	var failed error
	first := sort.Search(int(p.kernels), func(i int) bool {
		k, err := p.Kernel(uint32(i))
		if err != nil {
			failed = err
			return true
		}
		return k.Release >= release
	})
	var found []*Kernel
	for i := uint32(first); failed == nil && i < p.kernels; i++ {
		k, err := p.Kernel(i)
		if err != nil {
			return nil, err
		}
		if k.Release != release {
			break
		}
		found = append(found, k)
	}
	return found, failed
}

// BTF is the minimized BTF of a kernel of this pack, checked against its digest.
func (p *Pack) BTF(k *Kernel) ([]byte, error) {
	blob, err := p.entry(p.blobTable, k.blob, p.blobs, blobSize)
	if err != nil {
		return nil, err
	}
	word := func(at int) uint32 { return binary.LittleEndian.Uint32(blob[at:]) }
	chunk, err := p.chunk(word(32))
	if err != nil {
		return nil, err
	}
	from, size := uint64(word(36)), uint64(word(40))
	if from+size > uint64(len(chunk)) {
		return nil, damaged("a BTF that ends behind its chunk")
	}
	btf := chunk[from : from+size]
	if sum := sha256.Sum256(btf); !bytes.Equal(sum[:], blob[:32]) {
		return nil, damaged("a BTF with another digest")
	}
	return btf, nil
}

func (p *Pack) chunk(index uint32) ([]byte, error) {
	entry, err := p.entry(p.chunkTable, index, p.chunks, chunkSize)
	if err != nil {
		return nil, err
	}
	word := func(at int) uint32 { return binary.LittleEndian.Uint32(entry[at:]) }
	offset, packed, size := binary.LittleEndian.Uint64(entry), uint64(word(8)), word(12)
	if offset < p.data || offset > p.size || packed > p.size-offset || size > maxChunk {
		return nil, damaged("a chunk outside of the file")
	}
	section := io.NewSectionReader(p.from, int64(offset), int64(packed))
	var content io.Reader
	switch word(16) {
	case 0:
		content = section
	case 1:
		return nil, ErrZstd
	case 2:
		content = flate.NewReader(section)
	default:
		return nil, damaged("an unknown method")
	}
	chunk, err := io.ReadAll(io.LimitReader(content, int64(size)+1))
	if err != nil {
		return nil, err
	}
	if len(chunk) != int(size) {
		return nil, damaged("a chunk of another size")
	}
	return chunk, nil
}

// Verdict says what became of the relocations of a program on a kernel of this pack.
func (p *Pack) Verdict(k *Kernel, program string) (Verdict, error) {
	if k.outcomes >= p.outcomes {
		return 0, damaged("outcomes behind their table")
	}
	for i := uint32(0); i < p.programs; i++ {
		entry, err := p.entry(p.programTable, i, p.programs, programSize)
		if err != nil {
			return 0, err
		}
		name, err := p.text(binary.LittleEndian.Uint32(entry))
		if err != nil {
			return 0, err
		}
		if name == program {
			row := p.outcomeTable + uint64(k.outcomes)*uint64(p.programs)
			verdict, err := p.entry(row, i, p.programs, 1)
			if err == nil && verdict[0] > byte(Refused) {
				err = damaged("an unknown outcome")
			}
			if err != nil {
				return 0, err
			}
			return Verdict(verdict[0]), nil
		}
	}
	return 0, fmt.Errorf("the pack was not made for %s", program)
}
