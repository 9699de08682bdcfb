// A heatmap that goes on: a full grid frame, then patches put into it. Prints each column that is over, and its volume.
// Node 22 or newer, nothing to install. node heatmap_live.mjs [SYMBOL [BUCKET [ROW]]]

const feed = (process.env.FEED ?? "http://127.0.0.1:8700").replace("http", "ws");
const [symbol = "SIMULATED:BTCUSD", bucket = "1s", row = "5"] = process.argv.slice(2);
const cols = 120;
const asked = { kind: "traded", bucket, row, rows: 2000, cols, channels: "bv,sv,uv" };
const request = { action: "subscribe", channel: "heatmap", symbol, ...asked };
// By column, and in it by row: what was bought and sold, in sizes.
const grid = { columns: new Map(), newest: 0, seq: 0n };

function take(bytes) {
  const head = new DataView(bytes);
  const u32 = (at) => head.getUint32(at, true);
  const [flags, channels, isPatch] = [u32(8), head.getUint16(12, true), head.getUint8(7)];
  if (u32(0) !== 0x01474d46 || flags & 1) throw new Error("not a sparse grid frame of version 1");
  if (isPatch && head.getBigUint64(88, true) !== grid.seq) throw new Error("a patch of another grid");
  const [bucketMs, count, cells] = [20, 40, 52].map(u32);
  const t0 = Number(head.getBigInt64(24, true));
  const lots = Number(head.getBigUint64(56, true)) * 10 ** -head.getUint8(16);
  let at = 112 + 32 * (u32(64) + u32(68));
  function section(Kind, length) {
    const found = new Kind(bytes, at, length);
    at += Math.ceil(found.byteLength / 8) * 8;
    return found;
  }
  const starts = section(Uint32Array, count + 1);
  const rows = section(flags & 64 ? Uint32Array : Uint16Array, cells);
  const values = [];
  for (let bit = 0; bit < 16; bit++) {
    if ((channels >> bit) & 1) values.push(section(head.getUint8(14) === 4 ? Uint32Array : BigUint64Array, cells));
  }
  if (!isPatch) grid.columns.clear();
  for (let col = 0; col < count; col++) {
    const open = t0 + col * bucketMs;
    if (!grid.columns.has(open)) grid.columns.set(open, new Map());
    const column = grid.columns.get(open);
    for (let cell = starts[col]; cell < starts[col + 1]; cell++) {
      const found = values.map((each) => Number(each[cell]) * lots);
      // What is 0 is gone.
      if (found.some(Number)) column.set(rows[cell], found);
      else column.delete(rows[cell]);
    }
  }
  const before = grid.newest;
  grid.newest = t0 + (count - 1) * bucketMs;
  grid.seq = head.getBigUint64(72, true);
  for (const open of grid.columns.keys()) if (open <= grid.newest - cols * bucketMs) grid.columns.delete(open);
  for (let open = before; before && open < grid.newest; open += bucketMs) {
    const sizes = [...(grid.columns.get(open)?.values() ?? [])].flat();
    console.log(open, sizes.reduce((sum, size) => sum + size, 0).toFixed(8));
  }
}

function follow() {
  const socket = new WebSocket(`${feed}/v1/stream`);
  socket.binaryType = "arraybuffer";
  socket.onopen = () => socket.send(JSON.stringify(request));
  socket.onmessage = ({ data }) => {
    // A text message names the frame behind it.
    if (typeof data === "string") request.cursor = JSON.parse(data).cursor ?? request.cursor;
    else take(data);
  };
  socket.onclose = () => setTimeout(follow, 1000);
}

follow();
