// A function that is called with each bar once it is closed. Node 22 or newer, nothing to install.
//
// node closed_bars.mjs [SYMBOL [TIMEFRAME]]

const feed = (process.env.FEED ?? "http://127.0.0.1:8700").replace("http", "ws");
const [symbol = "SIMULATED:BTCUSD", timeframe = "1m"] = process.argv.slice(2);
const request = { action: "subscribe", symbol, timeframe, limit: 1 };

function closed(bar, kind) {
  console.log(kind, bar.t, bar.o, bar.h, bar.l, bar.c, bar.v);
}

function follow() {
  const socket = new WebSocket(`${feed}/v1/stream`);
  socket.onopen = () => socket.send(JSON.stringify(request));
  socket.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    // With the last cursor the next connection goes on where this one ended.
    request.cursor = message.cursor ?? request.cursor;
    if (["candle", "amend"].includes(message.type) && message.bar.isFinal) closed(message.bar, message.type);
  };
  socket.onclose = () => setTimeout(follow, 1000);
}

follow();
