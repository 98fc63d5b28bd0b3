package engine

// bounds are what 12 seeds have shown at worst, and somewhat more room: a tenth of the
// share, and for the small flow, whose worst packet is one that TCP lost in a queue that is
// full beside it, a quarter.
var bounds = map[string]bound{
	"baseline":     {0.85, 216, 346},
	"bloated":      {0.84, 136, 325},
	"bw_10to1":     {0.85, 43, 80},
	"bw_4to1":      {0.85, 147, 272},
	"congested":    {0.85, 632, 1042},
	"dual_lte":     {0.73, 645, 978},
	"fiber_lte":    {0.85, 30, 66},
	"flap":         {0.60, 343, 468},
	"jit_20":       {0.61, 125, 315},
	"jit_5":        {0.83, 150, 327},
	"loss_05":      {0.83, 267, 402},
	"loss_1":       {0.74, 280, 425},
	"loss_2":       {0.77, 301, 440},
	"lte_geo":      {0.59, 368, 881},
	"lte_starlink": {0.80, 530, 665},
	"metered":      {0.71, 516, 591},
	"renumber":     {0.83, 277, 358},
	"rtt_120":      {0.78, 347, 503},
	"rtt_320":      {0.52, 898, 1745},
	"rtt_40":       {0.84, 53, 165},
	"rtt_70":       {0.83, 58, 165},
	"silent_death": {0.61, 343, 415},
	"uneven":       {0.84, 257, 358},
}

// A datagramBound is what its large flows of datagrams have to keep.
type datagramBound struct{ share, order float64 }

// datagramBounds are the same for large flows of datagrams, from four seeds: a tenth below
// the least share, and half more than most of what came behind a later one.
var datagramBounds = map[string]datagramBound{
	"baseline":     {0.84, 0.05},
	"bloated":      {0.83, 0.05},
	"bw_10to1":     {0.83, 0.05},
	"bw_4to1":      {0.84, 0.05},
	"congested":    {0.77, 0.23},
	"dual_lte":     {0.75, 0.05},
	"fiber_lte":    {0.85, 0.05},
	"flap":         {0.59, 0.10},
	"jit_20":       {0.71, 0.05},
	"jit_5":        {0.80, 0.06},
	"loss_05":      {0.82, 0.05},
	"loss_1":       {0.75, 0.14},
	"loss_2":       {0.75, 0.05},
	"lte_geo":      {0.60, 0.44},
	"lte_starlink": {0.76, 0.05},
	"metered":      {0.70, 0.05},
	"renumber":     {0.81, 0.05},
	"rtt_120":      {0.81, 0.06},
	"rtt_320":      {0.63, 0.09},
	"rtt_40":       {0.83, 0.05},
	"rtt_70":       {0.83, 0.05},
	"silent_death": {0.59, 0.06},
	"uneven":       {0.83, 0.05},
}

// downBounds and datagramDownBounds are those of the other direction, both from 12 seeds.
var downBounds = map[string]bound{
	"congested":    {0.85, 630, 1025},
	"lte_starlink": {0.38, 222, 425},
	"metered":      {0.72, 240, 284},
}

var datagramDownBounds = map[string]datagramBound{
	"congested":    {0.84, 0.05},
	"lte_starlink": {0.49, 0.05},
	"metered":      {0.68, 0.05},
}
