package host

import (
	"fmt"
	"strings"
)

// A process is one process of a single pass over all of them.
type process struct {
	pid, parent int

	// start is when it began, in a unit of the kernel's; 0 where that is not known. With pid it
	// identifies the process, since the kernel uses a pid again.
	start uint64
}

// treeOf returns root and its descendants among all, root first. A process that began before its parent is
// no child of it: the parent's pid was used again. all may hold root and may be torn, as processes begin
// and end during the pass.
func treeOf(root process, all []process) []process {
	children := make(map[int][]process)
	for _, p := range all {
		if p.pid != root.pid {
			children[p.parent] = append(children[p.parent], p)
		}
	}
	tree := []process{root}
	for i := 0; i < len(tree); i++ {
		parent := tree[i]
		for _, child := range children[parent.pid] {
			if child.start == 0 || child.start >= parent.start {
				tree = append(tree, child)
			}
		}
		delete(children, parent.pid) // so that a pid listed twice cannot lead back to itself
	}
	return tree
}

// treeUse is the memory of a process tree.
type treeUse struct {
	bytes    int64
	pss, rss int  // how many processes were counted by each measure
	rootOnly bool // the processes of the host could not be listed
}

// String says what was counted, for people.
func (u treeUse) String() string {
	var parts []string
	for _, measure := range []struct {
		name  string
		count int
	}{{"PSS", u.pss}, {"RSS", u.rss}} {
		switch measure.count {
		case 0:
		case 1:
			parts = append(parts, measure.name+" of 1 process")
		default:
			parts = append(parts, fmt.Sprintf("%s of %d processes", measure.name, measure.count))
		}
	}
	text := strings.Join(parts, " and ")
	if u.rootOnly {
		text += "; its children could not be listed"
	}
	return text
}
