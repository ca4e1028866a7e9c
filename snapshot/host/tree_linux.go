package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

const treeSource = "/proc stat and smaps_rollup"

// readTree returns the memory of this process and its descendants as the procfs proc shows them. It reads the
// stat of every process of the host once to find them, which costs 10 to 20 µs for each.
func readTree(ctx context.Context, proc string) (treeUse, error) {
	// self names this process in the pid namespace of the mounted procfs, which need not be our own.
	root, _, err := readStat(filepath.Join(proc, "self"))
	if err != nil {
		return treeUse{}, fmt.Errorf("read memory of this process: %w", err)
	}
	var use treeUse
	all, err := scan(ctx, proc)
	if ctx.Err() != nil {
		return treeUse{}, ctx.Err()
	}
	use.rootOnly = err != nil
	for _, p := range treeOf(root, all) {
		if err := ctx.Err(); err != nil {
			return treeUse{}, err
		}
		dir := filepath.Join(proc, strconv.Itoa(p.pid))
		pss, pssErr := readPSS(dir)
		now, rss, err := readStat(dir)
		if err == nil && now.start != p.start {
			err = errReplaced
		}
		if err != nil {
			if p.pid == root.pid {
				return treeUse{}, fmt.Errorf("read memory of this process: %w", err)
			}
			continue // it ended
		}
		switch {
		case pssErr == nil && pss > 0:
			use.bytes += pss
			use.pss++
		case rss > 0:
			use.bytes += rss
			use.rss++
		}
	}
	return use, nil
}

var errReplaced = errors.New("its pid names another process")

// scan returns the processes of the host whose stat can be read, in one pass.
func scan(ctx context.Context, proc string) ([]process, error) {
	entries, err := os.ReadDir(proc)
	if err != nil {
		return nil, err
	}
	var all []process
	for _, entry := range entries {
		if name := entry.Name(); name[0] < '0' || name[0] > '9' {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if p, _, err := readStat(filepath.Join(proc, entry.Name())); err == nil {
			all = append(all, p)
		}
	}
	return all, nil
}

// readStat reads the process and its resident set, in bytes, from the stat file of the directory dir:
//
//	16733 (comm) R 16718 ... 123209 2998272 421 ...
//
// Field 1 is the pid, 4 the parent, 22 the start time in clock ticks since boot, 24 the resident set in
// pages (proc_pid_stat(5)). comm may itself hold spaces and parentheses.
func readStat(dir string) (p process, rss int64, err error) {
	name := filepath.Join(dir, "stat")
	text, err := readProcess(name)
	if err != nil {
		return process{}, 0, err
	}
	open, end := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
	if open < 0 || end < open {
		return process{}, 0, fmt.Errorf("parse %s: no command in parentheses", name)
	}
	const afterComm = 3 // the number of the first field after comm
	fields := bytes.Fields(text[end+1:])
	if len(fields) <= 24-afterComm {
		return process{}, 0, fmt.Errorf("parse %s: %d fields after the command, want at least 22", name, len(fields))
	}
	pid, pidErr := strconv.Atoi(string(bytes.TrimSpace(text[:open])))
	parent, parentErr := strconv.Atoi(string(fields[4-afterComm]))
	start, startErr := strconv.ParseUint(string(fields[22-afterComm]), 10, 64)
	pages, pagesErr := strconv.ParseInt(string(fields[24-afterComm]), 10, 64)
	if err := errors.Join(pidErr, parentErr, startErr, pagesErr); err != nil {
		return process{}, 0, fmt.Errorf("parse %s: %w", name, err)
	}
	return process{pid: pid, parent: parent, start: start}, pages * int64(os.Getpagesize()), nil
}

// readPSS reads the proportional set size, in bytes, of the process directory dir from its smaps_rollup
// (Linux 4.14):
//
//	Pss:                 352 kB
func readPSS(dir string) (int64, error) {
	name := filepath.Join(dir, "smaps_rollup")
	text, err := readProcess(name)
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(text) {
		rest, ok := bytes.CutPrefix(line, []byte("Pss:"))
		if !ok {
			continue
		}
		number, ok := bytes.CutSuffix(bytes.TrimSpace(rest), []byte(" kB"))
		if !ok {
			return 0, fmt.Errorf("parse %s: Pss is %q, want a number of kB", name, bytes.TrimSpace(rest))
		}
		kb, err := strconv.ParseInt(string(number), 10, 53)
		if err != nil {
			return 0, fmt.Errorf("parse %s: %w", name, err)
		}
		return kb * 1024, nil
	}
	return 0, fmt.Errorf("parse %s: no Pss line", name)
}
