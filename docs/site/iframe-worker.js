// Browsers refuse workers to pages that are opened from a folder. The search then runs in a hidden
// frame, with the same messages.
if (location.protocol === 'file:') {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement('iframe');
      frame.hidden = true;
      this.ready = new Promise((resolve, reject) => {
        frame.onload = () => {
          const inner = frame.contentWindow;
          inner.postMessage = (data) => this.dispatchEvent(new MessageEvent('message', { data }));
          const script = inner.document.createElement('script');
          script.src = url;
          script.onload = () => resolve(inner);
          script.onerror = () => reject(new Error(`${url} cannot be loaded`));
          inner.document.head.append(script);
        };
      });
      document.body.append(frame);
    }

    postMessage(data) {
      this.ready.then((inner) => inner.dispatchEvent(new MessageEvent('message', { data })));
    }
  };
}
