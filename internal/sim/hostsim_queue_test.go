package sim

// agenda is a binary heap of what ends when: the least end first. Each entry knows its place, so that it can be
// taken out early.
type agenda struct{ jobs []*job }

func (a *agenda) less(i, j int) bool {
	x, y := a.jobs[i], a.jobs[j]
	if x.due != y.due {
		return x.due < y.due
	}
	return x.number < y.number
}

func (a *agenda) swap(i, j int) {
	a.jobs[i], a.jobs[j] = a.jobs[j], a.jobs[i]
	a.jobs[i].place, a.jobs[j].place = i, j
}

func (a *agenda) push(j *job) {
	j.place = len(a.jobs)
	a.jobs = append(a.jobs, j)
	a.up(j.place)
}

func (a *agenda) remove(i int) {
	last := len(a.jobs) - 1
	if i != last {
		a.swap(i, last)
	}
	a.jobs[last] = nil
	a.jobs = a.jobs[:last]
	if i != last {
		a.down(i)
		a.up(i)
	}
}

func (a *agenda) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if !a.less(i, parent) {
			return
		}
		a.swap(i, parent)
		i = parent
	}
}

func (a *agenda) down(i int) {
	for {
		least := 2*i + 1
		if least >= len(a.jobs) {
			return
		}
		if right := least + 1; right < len(a.jobs) && a.less(right, least) {
			least = right
		}
		if !a.less(least, i) {
			return
		}
		a.swap(i, least)
		i = least
	}
}
