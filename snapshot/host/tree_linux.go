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

// readStat reads the process and its resident set, in bytes, from the stat file of the directory dir.
func readStat(dir string) (p process, rss int64, err error) {
	name := filepath.Join(dir, "stat")
	text, err := readProcess(name)
	if err != nil {
		return process{}, 0, err
	}
	e, err := parseStat(text)
	if err != nil {
		return process{}, 0, fmt.Errorf("parse %s: %w", name, err)
	}
	return process{pid: int(e.PID), parent: int(e.Parent), start: e.Start}, e.RSS, nil
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
	pss, err := parsePSS(text)
	if err != nil {
		return 0, fmt.Errorf("parse %s: %w", name, err)
	}
	return pss, nil
}

func parsePSS(text []byte) (int64, error) {
	for len(text) > 0 {
		var line []byte
		line, text = cutLine(text)
		rest, ok := bytes.CutPrefix(line, []byte("Pss:"))
		if !ok {
			continue
		}
		number, ok := bytes.CutSuffix(bytes.TrimSpace(rest), []byte(" kB"))
		kb, isNumber := digits(number)
		if !ok || !isNumber || kb > 1<<53 {
			return 0, fmt.Errorf("Pss is %q, want a number of kB", bytes.TrimSpace(rest))
		}
		return int64(kb) << 10, nil
	}
	return 0, errors.New("no Pss line")
}
