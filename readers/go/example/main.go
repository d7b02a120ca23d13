// The example carries a pack, as a program of yours would, and finds the BTF of the kernel that it runs on.
//
// Make kernels.btfpack first: btfpipe bundle extract BUNDLE FOLDER --layout pack-deflate. What it prints can be given to
// libbpfgo (BTFObjPath), cilium/ebpf (CollectionOptions.Programs.KernelTypes) and others.
package main

import (
	_ "embed"
	"fmt"
	"os"

	"btfpack"
)

//go:embed kernels.btfpack
var kernels []byte

func main() {
	root := "/"
	if len(os.Args) > 1 {
		root = os.Args[1]
	}
	if err := find(root); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func find(root string) error {
	pack, err := btfpack.OpenBytes(kernels)
	if err != nil {
		return err
	}
	query, err := btfpack.Host(root)
	if err != nil {
		return err
	}
	hit, err := pack.Find(query)
	if err != nil {
		return fmt.Errorf("%s: %w", query.Release, err)
	}
	btf, err := pack.BTF(hit.Kernel)
	if err != nil {
		return err
	}
	fmt.Printf("%s %s %d bytes\n", hit.Rule, hit.ID(), len(btf))
	return nil
}
