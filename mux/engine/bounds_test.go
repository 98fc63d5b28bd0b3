package engine

// bounds are what 8 seeds have shown at worst, and somewhat more room: a tenth of the
// share, and for the small flow, whose worst packet is one that TCP lost in a queue that is
// full beside it, a quarter.
var bounds = map[string]bound{
	"baseline":     {0.84, 79, 249},
	"bloated":      {0.79, 42, 73},
	"bw_10to1":     {0.80, 48, 424},
	"bw_4to1":      {0.81, 57, 212},
	"congested":    {0.85, 78, 99},
	"dual_lte":     {0.80, 125, 169},
	"fiber_lte":    {0.84, 48, 130},
	"flap":         {0.56, 723, 788},
	"jit_20":       {0.78, 82, 258},
	"jit_5":        {0.79, 35, 118},
	"loss_05":      {0.82, 83, 245},
	"loss_1":       {0.73, 205, 318},
	"loss_2":       {0.79, 128, 364},
	"lte_geo":      {0.50, 648, 767},
	"lte_starlink": {0.73, 704, 804},
	"metered":      {0.69, 482, 672},
	"renumber":     {0.79, 314, 444},
	"rtt_120":      {0.72, 75, 244},
	"rtt_320":      {0.54, 628, 1708},
	"rtt_40":       {0.81, 39, 223},
	"rtt_70":       {0.78, 44, 173},
	"silent_death": {0.55, 880, 1000},
	"uneven":       {0.81, 39, 309},
}

// A datagramBound is what its large flows of datagrams have to keep.
type datagramBound struct{ share, order float64 }

// datagramBounds are the same for large flows of datagrams: a tenth below the least share,
// and half more than most of what came behind a later one.
var datagramBounds = map[string]datagramBound{
	"baseline":     {0.82, 0.05},
	"bloated":      {0.79, 0.05},
	"bw_10to1":     {0.81, 0.09},
	"bw_4to1":      {0.80, 0.05},
	"congested":    {0.83, 0.05},
	"dual_lte":     {0.80, 0.05},
	"fiber_lte":    {0.81, 0.05},
	"flap":         {0.54, 0.20},
	"jit_20":       {0.71, 0.27},
	"jit_5":        {0.78, 0.15},
	"loss_05":      {0.77, 0.06},
	"loss_1":       {0.65, 0.30},
	"loss_2":       {0.77, 0.24},
	"lte_geo":      {0.58, 0.55},
	"lte_starlink": {0.78, 0.05},
	"metered":      {0.67, 0.05},
	"renumber":     {0.77, 0.14},
	"rtt_120":      {0.71, 0.26},
	"rtt_320":      {0.48, 0.27},
	"rtt_40":       {0.78, 0.05},
	"rtt_70":       {0.73, 0.24},
	"silent_death": {0.54, 0.21},
	"uneven":       {0.78, 0.12},
}

// downBounds and datagramDownBounds are those of the other direction, both from 8 seeds.
var downBounds = map[string]bound{
	"congested":    {0.85, 78, 99},
	"lte_starlink": {0.77, 210, 492},
	"metered":      {0.68, 459, 549},
}

var datagramDownBounds = map[string]datagramBound{
	"congested":    {0.83, 0.05},
	"lte_starlink": {0.62, 0.18},
	"metered":      {0.68, 0.05},
}
