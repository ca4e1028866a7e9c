package main

import (
	"fmt"
	"time"

	"github.com/headroom-rpc/headroom/client"
	"github.com/headroom-rpc/headroom/snapshot"
	"github.com/headroom-rpc/headroom/task"
)

var taskColumns = []topColumn{
	{head: "TASKS", least: 16}, {head: "CPU", right: true, least: 5}, {head: "MEMORY", right: true, least: 9}, {head: "BY", least: 6},
	{head: "DISK", right: true, least: 8}, {head: "PROCS", right: true}, {head: "THREADS", right: true, from: 100},
	{head: "CPU TIME", right: true, from: 100}, {head: "OWNER", from: 120}, {head: "STATE", from: 100},
	{head: "FOR", right: true, least: 6}, {head: "AGE", right: true, least: 5},
}

// taskCPUColumn is what tasks are sorted by at first.
const taskCPUColumn = 1

// taskRows returns a row for each task. now is by the clock of the client, and wall by that of the wall.
func taskRows(all []client.TaskState, now time.Duration, wall time.Time) []topRow {
	rows := make([]topRow, 0, len(all))
	for i := range all {
		one := &all[i]
		info := &one.Info
		end := wall
		if info.Ended != task.Running {
			end = info.EndedTime
		}
		lived := max(end.Sub(info.RegisteredTime), 0)
		cells := []topCell{{cell: cell{text: clean(info.Name)}}}
		if one.Sample == nil {
			for range taskColumns[1:8] {
				cells = append(cells, topCell{rightCell("-"), -1})
			}
			cells[3].right = false
		} else {
			cells = append(cells, usageCells(info, one.Sample)...)
		}
		cells = append(cells, topCell{cell: cell{text: clean(info.Owner)}}, topCell{cell: taskStateCell(info)},
			topCell{rightCell(humanDuration(lived)), float64(lived)}, sampleAgeCell(one.Sample, now))
		rows = append(rows, topRow{key: info.ID, cells: cells})
	}
	return rows
}

func sampleAgeCell(s *task.Sample, now time.Duration) topCell {
	if s == nil {
		return topCell{rightCell("-"), -1}
	}
	age := max(now-s.At, 0)
	c := topCell{rightCell(humanDuration(age)), float64(age)}
	if s.Stopped != "" {
		c.style = styleUnknown
	}
	return c
}

// usageCells returns the columns CPU to CPU TIME.
func usageCells(info *task.Info, s *task.Sample) []topCell {
	u := &s.Usage
	rate, processes, threads := -1.0, -1.0, -1.0
	if u.RateKnown {
		rate = u.Rate
	}
	if u.Known {
		processes, threads = float64(u.Processes), float64(u.Threads)
	}
	bytes, definition, ok := u.Memory()
	memory := topCell{rightCell("?"), -1}
	if hasNoMemory(u) {
		memory.text, definition = "-", ""
	} else if ok {
		memory = topCell{rightCell(humanSize(bytes)), float64(bytes)}
		if overLimit(info, bytes) {
			memory.style = styleOverloaded
		}
	}
	disk := topCell{diskCell(info, &s.Disk), -1}
	if info.Sandbox != "" && s.Disk.State != snapshot.DiskUnknown {
		disk.by = float64(s.Disk.Bytes)
	}
	return []topCell{
		{rightCell(taskRate(u)), rate}, memory, {cell: cell{text: definition}}, disk,
		{rightCell(countText(u.Known, u.Processes)), processes}, {rightCell(countText(u.Known, u.Threads)), threads},
		{rightCell(taskCPUTime(u)), float64(u.CPU)},
	}
}

func overLimit(info *task.Info, bytes int64) bool {
	return info.MemoryLimit > 0 && bytes > info.MemoryLimit
}

// taskLines says what stands behind the row of a task.
func taskLines(one *client.TaskState) []string {
	info, lines := &one.Info, []string(nil)
	add := func(format string, args ...any) { lines = append(lines, clean(fmt.Sprintf(format, args...))) }
	if one.Sample == nil {
		add("task %s (%s, of %s): not sampled yet", info.Name, taskStateCell(info).text, info.Owner)
		return lines
	}
	s := one.Sample
	memory := "memory unknown"
	if bytes, definition, ok := s.Usage.Memory(); ok {
		memory = fmt.Sprintf("memory %s by %s", humanSize(bytes), definition)
		switch {
		case info.MemoryLimit <= 0:
			memory += ", without a limit"
		case overLimit(info, bytes):
			memory += ", over its limit of " + humanSize(info.MemoryLimit)
		default:
			memory += fmt.Sprintf(", %s of its limit of %s", humanRatio(float64(bytes)/float64(info.MemoryLimit)), humanSize(info.MemoryLimit))
		}
	}
	add("task %s (%s): %s", info.Name, taskStateCell(info).text, memory)
	if s.Stopped != "" {
		add("no newer sample: %s", s.Stopped)
	}
	if info.Sandbox != "" {
		text := fmt.Sprintf("disk %s (%s)", diskText(info, &s.Disk), s.Disk.State)
		if s.Disk.Source != snapshot.DiskSourceUnknown {
			text = fmt.Sprintf("disk %s (%s, by %s)", diskText(info, &s.Disk), s.Disk.State, s.Disk.Source)
		}
		if s.Disk.Reason != "" {
			text += ": " + s.Disk.Reason
		}
		add("%s in %s", text, info.Sandbox)
	}
	for i := range s.Processes {
		p := &s.Processes[i]
		text := fmt.Sprintf("process %s", p.Name)
		if p.PID > 0 {
			text += fmt.Sprintf(" (pid %d)", p.PID)
		}
		if p.Ended {
			text += " has ended,"
		}
		bytes, definition, ok := p.Memory()
		if ok {
			definition = humanSize(bytes) + " by " + definition
		} else {
			definition = "unknown"
		}
		add("%s: CPU %s, %s in all, memory %s", text, taskRate(&p.Usage), taskCPUTime(&p.Usage), definition)
	}
	return lines
}
