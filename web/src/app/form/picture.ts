/** The saved picture: what the scene draws, with the words that stand above it. */

export interface PaintedWord {
  text: string;
  /** The middle of the word, in CSS pixels. */
  x: number;
  y: number;
}

/** How words look, in the page and in the picture. */
export interface WordStyle {
  font: string;
  colour: string;
  /** Of the rim that sets them apart from what is behind them. */
  halo: string;
}

/** A PNG of `picture`, which is `width` CSS pixels wide, with words painted on it. */
export async function withWords(
  picture: Blob,
  width: number,
  words: readonly PaintedWord[],
  style: WordStyle,
): Promise<Blob> {
  const image = await createImageBitmap(picture);
  const canvas = document.createElement("canvas");
  canvas.width = image.width;
  canvas.height = image.height;
  const context = canvas.getContext("2d")!;
  context.drawImage(image, 0, 0);
  image.close();
  context.scale(canvas.width / width, canvas.width / width);
  Object.assign(context, {
    font: style.font,
    fillStyle: style.colour,
    strokeStyle: style.halo,
    lineWidth: 4,
    lineJoin: "round",
    textAlign: "center",
    textBaseline: "middle",
  });
  for (const { text, x, y } of words) {
    context.strokeText(text, x, y);
    context.fillText(text, x, y);
  }
  return new Promise((resolve, reject) => {
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("the picture is empty"))));
  });
}
