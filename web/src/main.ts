// Starts the chat in the page; a shared link opens its conversation alone.
import { mount } from 'svelte';
import './app.css';
import App from './App.svelte';
import { keepOffline } from './lib/worker';
import SharedPage from './SharedPage.svelte';

const target = document.getElementById('app');
const isShared = () => location.hash.startsWith('#/s/');
if (target) mount(isShared() ? SharedPage : App, { target });
// From one to the other nothing stays.
const shared = isShared();
addEventListener('hashchange', () => {
  if (isShared() !== shared) location.reload();
});
keepOffline();
