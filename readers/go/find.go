package btfpack

import (
	"errors"
	"fmt"
	"strings"
)

// Query says which kernel is looked for; empty is what is not known.
type Query struct {
	// Distro and Version are ID and VERSION_ID of os-release, without quotes.
	Distro, Version string
	// Machine is uname -m, or GOARCH.
	Machine string
	// Release is uname -r.
	Release string
	BuildID string
}

// Hit is a kernel that was found, and how.
type Hit struct {
	*Kernel
	// Rule is exact, version-alias, major-version, unique-release or release-pattern.
	Rule string
	// Verified says that the build-id was compared and is equal.
	Verified bool
}

// Why there is no kernel.
var (
	ErrOtherArch    = errors.New("another architecture")
	ErrNoRelease    = errors.New("no such release")
	ErrOtherBuild   = errors.New("other build-id")
	ErrAmbiguous    = errors.New("ambiguous")
	ErrPlainRelease = errors.New("plain release")
)

// Find has the kernel that the query describes.
func (p *Pack) Find(q Query) (*Hit, error) {
	if archOf(q.Machine) != p.arch {
		return nil, ErrOtherArch
	}
	kernels, err := p.sameRelease(q.Release)
	if err != nil {
		return nil, err
	}
	if len(kernels) == 0 {
		return nil, ErrNoRelease
	}
	left := filter(kernels, func(k *Kernel) bool { return k.BuildID != "" && k.BuildID == q.BuildID })
	verified := len(left) > 0
	if !verified {
		left = filter(kernels, func(k *Kernel) bool { return k.BuildID == "" || q.BuildID == "" })
	}
	if len(left) == 0 {
		return nil, ErrOtherBuild
	}
	for _, rule := range []string{"exact", "version-alias", "major-version"} {
		fitting := filter(left, func(k *Kernel) bool { return fits(rule, k, q) })
		if len(fitting) == 0 {
			continue
		}
		if !oneBTF(fitting) {
			return nil, ErrAmbiguous
		}
		return &Hit{fitting[0], rule, verified}, nil
	}
	return byRelease(left, q.Release, verified)
}

func byRelease(left []*Kernel, release string, verified bool) (*Hit, error) {
	if oneBTF(left) {
		// 5.15.128 is Bottlerocket's, and that of everybody who builds the sources.
		if !verified && strings.Trim(release, "0123456789.") == "" {
			return nil, ErrPlainRelease
		}
		return &Hit{left[0], "unique-release", verified}, nil
	}
	distro, version, ok := releasePattern(release)
	if !ok {
		return nil, ErrAmbiguous
	}
	named := filter(left, func(k *Kernel) bool {
		return distroName(k.Distro) == distro &&
			(version == "" || hasVersion(k, version) || major(k.Version) == version)
	})
	if len(named) == 0 || !oneBTF(named) {
		return nil, ErrAmbiguous
	}
	return &Hit{named[0], "release-pattern", verified}, nil
}

func fits(rule string, k *Kernel, q Query) bool {
	if q.Distro == "" || q.Version == "" || distroName(k.Distro) != distroName(q.Distro) {
		return false
	}
	switch rule {
	case "exact":
		return k.Version == q.Version
	case "version-alias":
		return hasAlias(k, q.Version)
	default:
		return hasVersion(k, major(q.Version))
	}
}

func filter(kernels []*Kernel, keep func(*Kernel) bool) []*Kernel {
	var kept []*Kernel
	for _, k := range kernels {
		if keep(k) {
			kept = append(kept, k)
		}
	}
	return kept
}

func oneBTF(kernels []*Kernel) bool {
	return len(filter(kernels, func(k *Kernel) bool { return k.blob != kernels[0].blob })) == 0
}

func hasAlias(k *Kernel, version string) bool {
	for _, alias := range k.Aliases {
		if alias == version {
			return true
		}
	}
	return false
}

func hasVersion(k *Kernel, version string) bool { return k.Version == version || hasAlias(k, version) }

func major(version string) string { return strings.SplitN(version, ".", 2)[0] }

func archOf(machine string) string {
	switch machine {
	case "x86_64", "amd64":
		return "x86_64"
	case "aarch64", "arm64":
		return "arm64"
	}
	return machine
}

func distroName(distro string) string {
	names := map[string]string{
		"amazon": "amzn", "suse": "sles", "opensuse": "opensuse-leap", "redhat": "rhel", "oracle": "ol",
	}
	if name, ok := names[distro]; ok {
		return name
	}
	return distro
}

// releasePattern has the distribution and version that a release names: .amzn2., .fc31. and the like.
func releasePattern(release string) (distro, version string, ok bool) {
	words := strings.FieldsFunc(release, func(r rune) bool { return strings.ContainsRune(".-_+", r) })
	for _, word := range words {
		if distro, version, ok := platformOf(word); ok {
			return distro, version, true
		}
	}
	return "", "", false
}

func platformOf(word string) (distro, version string, ok bool) {
	for _, p := range []struct{ start, end, distro, before string }{
		{"amzn", "", "amzn", ""}, {"el", "uek", "ol", ""}, {"deb", "", "debian", ""}, {"fc", "", "fedora", ""},
		{"lp15", "", "opensuse-leap", "15."}, {"150", "00", "sles", "15."},
	} {
		if len(word) < len(p.start)+len(p.end) || !strings.HasPrefix(word, p.start) || !strings.HasSuffix(word, p.end) {
			continue
		}
		number := word[len(p.start) : len(word)-len(p.end)]
		if p.distro == "debian" {
			number = strings.SplitN(number, "u", 2)[0]
		}
		if number == "" || strings.Trim(number, "0123456789") != "" || p.distro == "sles" && len(number) != 1 {
			continue
		}
		// Amazon Linux 1 calls itself 2018.03 and the like.
		if p.distro == "amzn" && number == "1" {
			return p.distro, "", true
		}
		return p.distro, fmt.Sprint(p.before, number), true
	}
	return "", "", false
}
