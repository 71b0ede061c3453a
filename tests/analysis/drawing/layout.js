// What is wrong with how a figure is laid out: words that are cut off or lie on each other, a legend on the data.
async (figure, width, height) => {
  const div = document.getElementById("figure");
  await Plotly.newPlot(div, figure.data, {...figure.layout, width, height, autosize: false}, {displayModeBar: false, staticPlot: true});
  await new Promise((done) => setTimeout(done, 50));
  const canvas = div.getBoundingClientRect(), wrong = [];
  const words = [...div.querySelectorAll("text")].filter((text) => text.textContent.trim() && text.getBoundingClientRect().width > 0)
    .map((text) => ({said: text.textContent.trim(), box: text.getBoundingClientRect(), data: !!text.closest(".textpoint")}));
  for (const {said, box} of words)
    if (box.left < canvas.left - 1 || box.right > canvas.right + 1 || box.top < canvas.top - 1 || box.bottom > canvas.bottom + 1)
      wrong.push(`cut off: ${said}`);
  const over = (a, b, room) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > room
    && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > room;
  words.forEach((one, at) => words.slice(at + 1).forEach((other) => {
    if (over(one.box, other.box, one.data && other.data ? 6 : 2)) wrong.push(`on each other: ${one.said} | ${other.said}`);
  }));
  const panels = Object.values(div._fullLayout._plots).map(({xaxis, yaxis}) => ({
    left: canvas.left + xaxis._offset, right: canvas.left + xaxis._offset + xaxis._length,
    top: canvas.top + yaxis._offset, bottom: canvas.top + yaxis._offset + yaxis._length,
  }));
  if (!panels.length || !words.length) wrong.push("nothing is drawn");
  for (const panel of panels) {
    if (panel.right - panel.left < 60 || panel.bottom - panel.top < 40) wrong.push("a panel is squeezed");
    for (const legend of div.querySelectorAll(".legend, .legend2"))
      if (over(legend.getBoundingClientRect(), panel, 3)) wrong.push("a legend lies on a panel");
  }
  return [...new Set(wrong)];
}
