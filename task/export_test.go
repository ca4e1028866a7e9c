package task

// HistorySizes returns how many samples the history of a task has room for and has.
func (m *Monitor) HistorySizes(id string) (room, has int) {
	h := &m.tasks[id].history
	return cap(h.records.items), len(h.records.live())
}
