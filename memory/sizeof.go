package memory

import (
	"cmp"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"unsafe"
)

// Size is how much memory a value takes, with all that can be reached from it.
type Size struct {
	// Bytes counts every byte once, however many ways lead to it. Sizes are those of the types and
	// capacities; the allocator rounds up to its size classes. Maps are estimated from their length.
	Bytes int64

	// Objects counts the separate pieces of memory. Pointers into one piece do not make another; a map is
	// one, and so is a channel.
	Objects int

	// Unseen names what could not be followed, in order, and how often. Empty when all was seen.
	Unseen []Unseen
}

// Unseen is a kind of thing that SizeOf cannot look into.
type Unseen struct {
	// What is one of the constants below.
	What string

	// Count is how many of them there were.
	Count int
}

// What SizeOf cannot see. Beyond these, which it counts, there is what it cannot even notice: memory that C
// or the operating system allocated, objects that are referred to as something else by way of unsafe, stacks
// of goroutines, and what the runtime keeps of its own, such as finalizers.
const (
	UnseenChannels = "elements in the buffers of channels"
	UnseenClosures = "variables of closures"
	UnseenPointers = "memory behind unsafe.Pointer"
)

// SizeOf returns the deep size of v. What others refer to as well counts in full, constants too. Nothing may
// change what can be reached from v meanwhile: a map that does crashes the program. It visits everything, and
// needs about 60 bytes of memory for each piece, so it is for caches and debugging, not for a hot path.
func SizeOf(v any) Size {
	w := walker{seen: make(map[piece]struct{}), pointers: make(map[reflect.Type]bool)}
	w.visit(reflect.TypeFor[any](), unsafe.Pointer(&v))
	for len(w.todo)+len(w.todoMaps) > 0 {
		if last := len(w.todoMaps) - 1; last >= 0 {
			m := w.todoMaps[last]
			w.todoMaps = w.todoMaps[:last]
			w.visitEntries(m)
			continue
		}
		p := w.todo[len(w.todo)-1]
		w.todo = w.todo[:len(w.todo)-1]
		for i := range p.n {
			w.visit(p.of, unsafe.Add(p.at, i*int(p.of.Size())))
		}
	}
	runtime.KeepAlive(v)
	size := w.sum()
	for what, count := range map[string]int{
		UnseenChannels: w.channels, UnseenClosures: w.closures, UnseenPointers: w.unsafe,
	} {
		if count > 0 {
			size.Unseen = append(size.Unseen, Unseen{what, count})
		}
	}
	slices.SortFunc(size.Unseen, func(a, b Unseen) int { return cmp.Compare(a.What, b.What) })
	return size
}

// piece is n values of one type that follow each other in memory.
type piece struct {
	at unsafe.Pointer
	of reflect.Type
	n  int
}

// span is memory that counts.
type span struct{ begin, end uintptr }

type walker struct {
	todo     []piece
	todoMaps []reflect.Value
	seen     map[piece]struct{}
	spans    []span
	maps     map[unsafe.Pointer]struct{}
	pointers map[reflect.Type]bool // whether values of the type hold any

	hidden                     int64 // bytes without an address: maps and channels
	hiddenObjects              int
	channels, closures, unsafe int
}

// add counts a piece and has it visited, unless it was before.
func (w *walker) add(at unsafe.Pointer, of reflect.Type, n int) {
	p := piece{at, of, n}
	if _, ok := w.seen[p]; ok || at == nil || n == 0 || of.Size() == 0 {
		return
	}
	w.seen[p] = struct{}{}
	w.spans = append(w.spans, span{uintptr(at), uintptr(at) + uintptr(n)*of.Size()})
	if w.hasPointers(of) {
		w.todo = append(w.todo, p)
	}
}

// addHidden counts something at an address once, whose memory lies elsewhere, and reports whether it is new.
func (w *walker) addHidden(at unsafe.Pointer, bytes int64) bool {
	if _, ok := w.maps[at]; ok {
		return false
	}
	if w.maps == nil {
		w.maps = make(map[unsafe.Pointer]struct{})
	}
	w.maps[at] = struct{}{}
	w.hidden += bytes
	w.hiddenObjects++
	return true
}

// visit adds what the value of the type at the address refers to. The value itself is counted already.
func (w *walker) visit(t reflect.Type, at unsafe.Pointer) {
	if !w.hasPointers(t) {
		return
	}
	// As one that lies at an address, the value may be read even where it is a field that is not exported.
	v := reflect.NewAt(t, at).Elem()
	switch t.Kind() {
	case reflect.Pointer:
		w.add(v.UnsafePointer(), t.Elem(), 1)
	case reflect.Slice:
		w.add(v.UnsafePointer(), t.Elem(), v.Cap())
	case reflect.String:
		s := v.String()
		w.add(unsafe.Pointer(unsafe.StringData(s)), reflect.TypeFor[byte](), len(s))
	case reflect.Interface:
		w.visitInterface(v, at)
	case reflect.Struct:
		w.visitStruct(t, at)
	case reflect.Array:
		for i := range t.Len() {
			w.visit(t.Elem(), unsafe.Add(at, i*int(t.Elem().Size())))
		}
	case reflect.Map:
		w.addMap(v)
	case reflect.Chan:
		if !v.IsNil() && w.addHidden(v.UnsafePointer(), channelBytes+int64(v.Cap())*int64(t.Elem().Size())) &&
			v.Len() > 0 && w.hasPointers(t.Elem()) {
			w.channels++
		}
	case reflect.Func:
		if !v.IsNil() {
			w.closures++
		}
	case reflect.UnsafePointer:
		if !v.IsNil() {
			w.unsafe++
		}
	}
}

func (w *walker) visitStruct(t reflect.Type, at unsafe.Pointer) {
	if t == reflect.TypeFor[sync.Map]() {
		w.visitSyncMap((*sync.Map)(at))
		return
	}
	if of := atomicPointer(t); of != nil {
		// It holds an unsafe.Pointer, but says what to.
		w.visit(reflect.PointerTo(of), unsafe.Add(at, t.Field(t.NumField()-1).Offset))
		return
	}
	for i := range t.NumField() {
		field := t.Field(i)
		w.visit(field.Type, unsafe.Add(at, field.Offset))
	}
}

// atomicPointer returns what an atomic.Pointer points to, or nil for another type.
func atomicPointer(t reflect.Type) reflect.Type {
	if t.PkgPath() != "sync/atomic" || !strings.HasPrefix(t.Name(), "Pointer[") || t.NumField() == 0 {
		return nil
	}
	method, ok := reflect.PointerTo(t).MethodByName("Load")
	if !ok || t.Field(t.NumField()-1).Type.Kind() != reflect.UnsafePointer {
		return nil
	}
	return method.Type.Out(0).Elem()
}

// visitInterface follows an interface to its value. An interface holds a type and one word: the value itself
// where that is a single pointer, else the address of it.
func (w *walker) visitInterface(v reflect.Value, at unsafe.Pointer) {
	if v.IsNil() {
		return
	}
	word := (*[2]unsafe.Pointer)(at)
	held := v.Elem()
	t := held.Type()
	if t.Size() == unsafe.Sizeof(uintptr(0)) && w.hasPointers(t) {
		value := reflect.New(t)
		value.Elem().Set(held)
		if *(*unsafe.Pointer)(value.UnsafePointer()) == word[1] {
			w.visit(t, unsafe.Pointer(&word[1]))
			return
		}
	}
	w.add(word[1], t, 1)
}

// addMap counts a map and has its entries visited, unless they were before. They wait, for maps may be nested deeper
// than the stack can grow.
func (w *walker) addMap(v reflect.Value) {
	t := v.Type()
	if v.IsNil() || !w.addHidden(v.UnsafePointer(), mapBytes(t, v.Len())) {
		return
	}
	if w.hasPointers(t.Key()) || w.hasPointers(t.Elem()) {
		// A copy, for v may lie where the next entry of another map is put.
		w.todoMaps = append(w.todoMaps, reflect.ValueOf(v.Interface()))
	}
}

func (w *walker) visitEntries(v reflect.Value) {
	t := v.Type()
	withKeys, withValues := w.hasPointers(t.Key()), w.hasPointers(t.Elem())
	key, value := reflect.New(t.Key()), reflect.New(t.Elem())
	for entry := v.MapRange(); entry.Next(); {
		if withKeys {
			key.Elem().SetIterKey(entry)
			w.visit(t.Key(), key.UnsafePointer())
		}
		if withValues {
			value.Elem().SetIterValue(entry)
			w.visit(t.Elem(), value.UnsafePointer())
		}
	}
}

// visitSyncMap asks the map itself, whose inner nodes do not say what they are.
func (w *walker) visitSyncMap(m *sync.Map) {
	entries := int64(0)
	m.Range(func(key, value any) bool {
		entries++
		w.visit(reflect.TypeFor[any](), unsafe.Pointer(&key))
		w.visit(reflect.TypeFor[any](), unsafe.Pointer(&value))
		return true
	})
	w.addHidden(unsafe.Pointer(m), entries*syncMapEntry)
}

const (
	syncMapEntry = 64 // with its share of the inner nodes
	channelBytes = 96 // its header
	mapHeader    = 48
	mapGroup     = 8 // slots in a group, which has a control word as well
	mapInline    = 128
)

// mapBytes estimates the memory of a map: groups of 8 slots, filled up to 7/8, in powers of two, as they are
// after growing to n entries. Keys and values over 128 bytes lie outside of their slots.
func mapBytes(t reflect.Type, n int) int64 {
	slot, outside := int64(0), int64(0)
	for _, of := range []reflect.Type{t.Key(), t.Elem()} {
		if size := int64(of.Size()); size > mapInline {
			slot += int64(unsafe.Sizeof(uintptr(0)))
			outside += size
		} else {
			slot += size
		}
	}
	slots := int64(mapGroup)
	for n > mapGroup && slots*7/8 < int64(n) {
		slots *= 2
	}
	if n == 0 {
		slots = 0
	}
	return mapHeader + slots/mapGroup*(8+mapGroup*slot) + int64(n)*outside
}

// hasPointers reports whether a value of the type can refer to other memory.
func (w *walker) hasPointers(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Array:
		return t.Len() > 0 && w.hasPointers(t.Elem())
	case reflect.Struct:
		has, known := w.pointers[t]
		if !known {
			for i := 0; i < t.NumField() && !has; i++ {
				has = w.hasPointers(t.Field(i).Type)
			}
			w.pointers[t] = has
		}
		return has
	case reflect.Chan, reflect.Func, reflect.Interface, reflect.Map, reflect.Pointer, reflect.Slice, reflect.String,
		reflect.UnsafePointer:
		return true
	default:
		return false
	}
}

// sum counts the bytes of all spans, where they overlap once.
func (w *walker) sum() Size {
	slices.SortFunc(w.spans, func(a, b span) int { return cmp.Compare(a.begin, b.begin) })
	size := Size{Bytes: w.hidden, Objects: w.hiddenObjects}
	var end uintptr
	for _, s := range w.spans {
		if s.begin >= end {
			size.Objects++
		}
		if s.end > end {
			size.Bytes += int64(s.end - max(s.begin, end))
			end = s.end
		}
	}
	return size
}
