// A heatmap's grid frame as typed arrays over its bytes: nothing is copied, as a page that draws it would have it.
//
// node heatmap_grid.mjs [SYMBOL [KIND]]

const feed = process.env.FEED ?? "http://127.0.0.1:8700";
const [symbol = "SIMULATED:BTCUSD", kind = "depth"] = process.argv.slice(2);
const answer = await fetch(`${feed}/v1/heatmap/${symbol}?kind=${kind}&max_cols=60&format=grid`);
const bytes = await answer.arrayBuffer();
const head = new DataView(bytes);
const u32 = (at) => head.getUint32(at, true);
const i64 = (at) => Number(head.getBigInt64(at, true));
if (u32(0) !== 0x01474d46) throw new Error("not a grid frame of version 1");
const [flags, channels] = [u32(8), head.getUint16(12, true)];
const [cols, rows, rowTicks, spans, best] = [40, 44, 48, 64, 68].map(u32);
// Dense: each cell is there, by column. All ones: nothing is known of it.
const isDense = flags & 1;
const cells = isDense ? cols * rows : u32(52);
const price = 10 ** -head.getUint8(15);
const lots = Number(head.getBigUint64(56, true)) * 10 ** -head.getUint8(16);

let at = head.getUint16(4, true);
function section(Kind, count) {
  const found = new Kind(bytes, at, count);
  at += Math.ceil(found.byteLength / 8) * 8;
  return found;
}
const known = section(BigInt64Array, 4 * spans);
const bestPrices = section(BigInt64Array, 4 * best);
const colStart = isDense ? undefined : section(Uint32Array, cols + 1);
const row = isDense ? undefined : section(flags & 64 ? Uint32Array : Uint16Array, cells);
const values = [];
for (let bit = 0; bit < 16; bit++) {
  if ((channels >> bit) & 1) values.push(section(head.getUint8(14) === 4 ? Uint32Array : BigUint64Array, cells));
}
const unknown = head.getUint8(14) === 4 ? 0xffffffff : 0xffffffffffffffffn;
for (let col = 0; col < cols; col++) {
  const [from, to] = isDense ? [col * rows, (col + 1) * rows] : [colStart[col], colStart[col + 1]];
  for (let cell = from; cell < to; cell++) {
    const found = values.map((column) => column[cell]);
    if (found[0] === unknown || !found.some(Number)) continue;
    // Bids and asks, or what was bought and sold.
    const [first, second] = found.map((value) => (Number(value) * lots).toFixed(4));
    const place = isDense ? cell - from : row[cell];
    console.log(i64(24) + col * u32(20), ((i64(32) + place * rowTicks) * price).toFixed(2), first, second);
  }
}
